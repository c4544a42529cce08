-- What one check of the integrators family found, with its first seed.
SELECT quantity, value FROM certificates WHERE family = 'integrators' AND "check" = $check AND isfinite(value)
    AND seed = (SELECT min(seed) FROM certificates WHERE family = 'integrators' AND "check" = $check);

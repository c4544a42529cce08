-- What one check of the kinks family found, by the parts of the names of its quantities, with its first seed.
SELECT string_split(quantity, ' | ') AS parts, value, low, high FROM certificates
WHERE family = 'kinks' AND "check" = $check AND seed = (
    SELECT min(seed) FROM certificates WHERE family = 'kinks' AND "check" = $check
);

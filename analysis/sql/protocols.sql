-- Versions of the comparison that the evaluated trials were made under; results of two are not put side by side.
SELECT coalesce(protocol, 'unknown') AS protocol, count(*) AS n FROM trials WHERE stage = 'eval' GROUP BY ALL ORDER BY ALL;

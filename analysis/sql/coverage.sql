-- How many runs every method has on every task, how many of them failed, and how many were skipped or lost with their worker.
WITH there AS (
    SELECT task, method, count(*)::INTEGER AS n, count_if(failed)::INTEGER AS failed, 0 AS skipped, 0 AS lost
    FROM final WHERE alias = '' GROUP BY ALL
), absent AS (
    SELECT
        task, concat(optimizer, if(coalesce(network = reference_network, false), '', ' on ' || network)) AS method,
        0 AS n, 0 AS failed, count_if(status = 'skipped')::INTEGER AS skipped, count_if(status = 'lost')::INTEGER AS lost
    FROM trials WHERE stage = 'eval' AND coalesce(alias, '') = '' AND status IN ('skipped', 'lost') GROUP BY ALL
)
SELECT task, method, sum(n)::INTEGER AS n, sum(failed)::INTEGER AS failed, sum(skipped)::INTEGER AS skipped, sum(lost)::INTEGER AS lost
FROM (FROM there UNION ALL FROM absent) GROUP BY ALL
ORDER BY ALL;

-- Trials that failed, with the values that were recorded of them at single steps: quantities, steps and values side by side.
SELECT
    t.task, t.stage, concat(t.optimizer, if(t.network IS NOT DISTINCT FROM t.reference_network, '', ' on ' || t.network)) AS method,
    t.status, t.key, list(f.name ORDER BY f.step) AS names, list(f.step ORDER BY f.step) AS steps, list(f.value ORDER BY f.step) AS "values"
FROM trials AS t LEFT JOIN flight AS f USING (key)
WHERE t.status NOT IN ('completed', 'lost', 'skipped')
GROUP BY ALL
ORDER BY ALL;

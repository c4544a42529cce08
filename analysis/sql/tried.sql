-- The best validation score of every point that was tried in tuning, by task and method; NaN where the trial failed.
SELECT
    u.task, concat(u.optimizer, if(t.network IS NOT DISTINCT FROM t.reference_network, '', ' on ' || u.network)) AS method,
    any_value(t."primary") AS metric, bool_or(t.higher_is_better) AS higher_is_better,
    list(if(u.status = 'completed', coalesce(u.best_validation, 'nan'::DOUBLE), 'nan') ORDER BY u.place) AS scores
FROM tuning AS u JOIN trials AS t USING (key)
WHERE coalesce(t.alias, '') = '' AND u.status NOT IN ('lost', 'skipped')
GROUP BY ALL
ORDER BY ALL;

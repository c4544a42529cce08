-- Scores of methods that ran twice, by task: of the method itself, and of its repeat with streams of its own.
SELECT
    r.task, any_value(r.data) AS data, r.method, any_value(r.metric) AS metric, any_value(r.higher_is_better) AS higher_is_better,
    any_value(m.scores) AS scores, list(if(r.failed, 'nan'::DOUBLE, r.test_at_best) ORDER BY r.seed) AS repeated
FROM repeats AS r JOIN (
    SELECT task, method, list(if(failed, 'nan'::DOUBLE, test_at_best) ORDER BY seed) AS scores
    FROM final WHERE alias = '' GROUP BY ALL
) AS m USING (task, method)
GROUP BY r.task, r.method
ORDER BY r.method, r.task;

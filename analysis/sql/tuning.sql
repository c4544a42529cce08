-- The validation scores of all points that were tried for a method on a task, and of the chosen one beside fresh seeds.
WITH methods AS (  -- tuning rows carry the same labels as the evaluations they chose for
    SELECT
        f.task, f.data, f.network, f.optimizer, f.method, any_value(t.optimizer_fields) AS optimizer_fields,
        any_value(t.network_fields) AS network_fields, any_value(t.budget) AS budget, any_value(t.precision) AS precision,
        any_value(t.schedule) AS schedule, any_value(f.metric) AS metric, bool_or(f.higher_is_better) AS higher_is_better,
        list(if(f.failed, 'nan'::DOUBLE, f.best_validation) ORDER BY f.seed) AS fresh
    FROM final AS f JOIN trials AS t USING (key)
    WHERE f.alias = '' AND t.tune > 0
    GROUP BY ALL
)
SELECT
    m.task, m.data, m.method, m.metric, m.higher_is_better, m.fresh,
    list(if(t.status = 'completed', coalesce(t.best_validation, 'nan'::DOUBLE), 'nan') ORDER BY t.key) AS tried,
    first(t.best_validation ORDER BY t.key) FILTER (
        t.optimizer_fields = m.optimizer_fields AND t.network_fields = m.network_fields AND t.status = 'completed'
    ) AS chosen
FROM methods AS m JOIN trials AS t
    ON t.stage = 'tune' AND t.status NOT IN ('lost', 'skipped') AND coalesce(t.alias, '') = '' AND t.task = m.task AND t.network = m.network
    AND t.optimizer = m.optimizer AND t.budget IS NOT DISTINCT FROM m.budget
    AND t.precision IS NOT DISTINCT FROM m.precision AND t.schedule IS NOT DISTINCT FROM m.schedule
GROUP BY ALL
ORDER BY m.task, m.method;

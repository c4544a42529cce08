-- The validation metric before the first step, by task: about what a predictor that is constant scores.
SELECT f.task, median(m.value) AS value
FROM metrics AS m JOIN final AS f USING (key)
WHERE m.step = 0 AND m.split = 'validation' AND m.name = f.metric AND f.alias = '' AND isfinite(m.value)
GROUP BY ALL
ORDER BY task;

-- Validation curves of the primary metric, evaluation stage only.
SELECT f.task, f.method, f.seed, f.failed, m.step, m.gradients, m.value
FROM metrics AS m JOIN final AS f USING (key)
WHERE m.split = 'validation' AND m.name = f.metric AND f.task = $task AND f.alias = ''
ORDER BY f.method, f.seed, m.step;

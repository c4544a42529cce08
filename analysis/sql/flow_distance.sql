-- How far training is from the gradient flow at time 1, which a step of that length meets.
SELECT t.task, t.optimizer_fields->>'rule' AS rule, t.lr AS step, t.seed, m.value AS distance
FROM trials AS t JOIN metrics AS m USING (key)
WHERE t.alias = 'flow' AND m.split = 'probe' AND m.name = 'flow_distance.distance'
    AND isfinite(m.value) AND abs(m.step * t.lr - 1) < 1e-9
ORDER BY ALL;

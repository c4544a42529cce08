-- Evaluated trials of a run with what must agree before two of them are put side by side, and with what is compared then.
SELECT
    e.task, e.method, e.network, e.optimizer, e.alias, e.seed, t.tune, t.budget, t.precision, t.schedule,
    if(t.tune > 0, NULL, t.weight_decay) AS weight_decay, if(t.tune > 0, NULL, t.clip) AS clip,  -- chosen by the tuning
    e.data, t.protocol, t.task_fields, list_sort(regexp_extract_all(t.parts, '"data/[^"]*": "[^"]*"'))::VARCHAR AS files,
    e.metric, e.higher_is_better, e.target, e.status, e.failed,
    t.test_at_best, t.final_test, t.best_validation, t.final_loss, t.steps, t.gradients,
    if(t.timing = 'exclusive' AND t.steps > 1, t.seconds, NULL) AS seconds, t.peak_bytes, t.memory_kind,
    t.wall_seconds,
    t.device, t.torch, t."commit"
FROM evaluations AS e JOIN trials AS t USING (key)
ORDER BY e.task, e.method, e.seed;

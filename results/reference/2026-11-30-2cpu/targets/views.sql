-- The four tables as committed, then what is asked of them most. results/README.md explains every column.
CREATE OR REPLACE VIEW trials AS
SELECT * FROM read_parquet([
  'data/trials-5bce98-28478-9e4b57b0-1.parquet'
]);

CREATE OR REPLACE VIEW metrics AS
SELECT * FROM read_parquet([
  'data/metrics-5bce98-28478-9e4b57b0-1.parquet'
]);

CREATE OR REPLACE VIEW checks AS
SELECT * FROM read_parquet([
  'data/checks-5bce98-28478-9e4b57b0-1.parquet'
]);

CREATE OR REPLACE VIEW flight AS
SELECT * FROM read_parquet([
  'data/flight-5bce98-28478-9e4b57b0-1.parquet'
]);

-- One row per evaluated trial that ran. Infrastructure losses and pairs that cannot work say nothing about a method.
-- A cell that was tuned again has two sets of rows under one name: the later one counts.
-- A method without a network in its name runs on the task's reference network, so that it is one method over all tasks.
-- Settings enter the name of a method only where they would otherwise mix two methods.
-- A trial whose worker died knows nothing of its task: metric, direction and target are taken from the others.
CREATE OR REPLACE VIEW evaluations AS
WITH evaluated AS (
    SELECT * FROM trials
    WHERE stage = 'eval' AND status NOT IN ('lost', 'skipped')
    QUALIFY row_number() OVER (
        PARTITION BY task, network, optimizer, alias, tune, budget, precision, schedule, seed,
            if(tune > 0, NULL, weight_decay), if(tune > 0, NULL, clip)
        ORDER BY started DESC NULLS LAST, key
    ) = 1
), placed AS (
    SELECT *, coalesce(network = reference_network, false) AS on_reference,
        if(coalesce(network = reference_network, false), '', network) AS role,
        -- budgets are compared within a task: the same number of gradients is another share of another task's budget
        min(budget_factor) OVER here < max(budget_factor) OVER here AS two_budgets
    FROM evaluated
    WINDOW here AS (PARTITION BY task, network, optimizer, alias)
), named AS (
    SELECT *, concat(
        if(coalesce(alias, '') = '', '', ' [' || alias || ']'),
        if(min(tune) OVER same < max(tune) OVER same, ', tune=' || tune, ''),
        if(bool_or(two_budgets) OVER same, ', budget=' || printf('%g', budget_factor) || 'x', ''),
        if(min(precision) OVER same < max(precision) OVER same, ', ' || precision, ''),
        if(min(schedule) OVER same < max(schedule) OVER same, ', ' || schedule, ''),
        if(min(if(tune > 0, NULL, coalesce(weight_decay, -1))) OVER same < max(if(tune > 0, NULL, coalesce(weight_decay, -1))) OVER same,
            coalesce(', weight_decay=' || printf('%g', weight_decay), ''), ''),
        if(min(if(tune > 0, NULL, coalesce(clip, 'inf'))) OVER same < max(if(tune > 0, NULL, coalesce(clip, 'inf'))) OVER same,
            ', clip=' || printf('%g', coalesce(clip, 'inf')), '')
    ) AS setting
    FROM placed
    WINDOW same AS (PARTITION BY role, optimizer, coalesce(nullif(alias, 'A/A'), ''))  -- a repeat is called as what it repeats
)
SELECT
    task, coalesce(task_fields ->> '$.task.name', task_name, task) AS data,  -- a part of a data set is no other data set
    concat(optimizer, if(on_reference, '', ' on ' || network), setting) AS method, optimizer, network, coalesce(alias, '') AS alias, ltrim(setting, ', ') AS setting,
    on_reference, family, optimizer_name, network_name, network_family, optimizer_family, seed, status,
    status <> 'completed' OR test_at_best IS NULL OR NOT isfinite(test_at_best) AS failed,
    max("primary") OVER task AS metric, bool_or(higher_is_better) OVER task AS higher_is_better, test_at_best, best_validation, final_test, final_validation,
    budget, steps, epochs, gradients, seconds, timing, peak_bytes / 1e6 AS peak_mb, parameters,
    max(target) OVER task AS target, target_gradients, message, key
FROM named
WINDOW task AS (PARTITION BY task);

-- What leaderboards and claims read: all but the repeats.
CREATE OR REPLACE VIEW final AS
SELECT * FROM evaluations WHERE alias <> 'A/A';

-- A method that ran twice, the second time with streams of its own: the same thing against itself.
CREATE OR REPLACE VIEW repeats AS
SELECT * REPLACE (replace(method, ' [A/A]', '') AS method) FROM evaluations WHERE alias = 'A/A';

-- Cost until the validation metric first met the target, infinite where it never did within the budget.
CREATE OR REPLACE VIEW time_to_target AS
SELECT
    f.task, f.method, f.seed, f.target, t.target_step IS NOT NULL AS reached,
    coalesce(t.target_step, 'inf'::DOUBLE) AS steps, coalesce(t.target_epochs, 'inf') AS epochs,
    coalesce(t.target_gradients, 'inf') AS gradients, coalesce(t.target_seconds, 'inf') AS seconds, t.timing, f.budget, f.key
FROM final AS f JOIN trials AS t USING (key)
WHERE f.target IS NOT NULL;

-- Seconds of evaluations that were timed again, alone on their device: they differ from the evaluation in nothing but the stage.
CREATE OR REPLACE VIEW retimed AS
SELECT e.key, median(r.seconds) AS seconds, median(coalesce(r.target_seconds, 'inf'::DOUBLE)) AS target_seconds
FROM trials AS e JOIN trials AS r
    ON r.task = e.task AND r.network = e.network AND r.optimizer = e.optimizer AND r.seed = e.seed
    AND r.budget IS NOT DISTINCT FROM e.budget AND coalesce(r.alias, '') = coalesce(e.alias, '')
    AND r.tune IS NOT DISTINCT FROM e.tune AND r.precision IS NOT DISTINCT FROM e.precision
    AND r.schedule IS NOT DISTINCT FROM e.schedule AND r.weight_decay IS NOT DISTINCT FROM e.weight_decay
    AND r.clip IS NOT DISTINCT FROM e.clip AND r.network_fields IS NOT DISTINCT FROM e.network_fields
    AND r.optimizer_fields IS NOT DISTINCT FROM e.optimizer_fields
WHERE e.stage = 'eval' AND r.stage = 'retime' AND r.status = 'completed' AND r.timing = 'exclusive' AND r.steps > 1
GROUP BY ALL;

-- Every measured value beside the identity of its trial.
CREATE OR REPLACE VIEW curves AS
SELECT
    t.task, t.network, t.optimizer, t.alias, t.stage, t.seed, m.split, m.name, m.name = t."primary" AS is_primary,
    m.step, m.epochs, m.gradients, m.seconds, m.value, t.family, t.status, t.key
FROM metrics AS m JOIN trials AS t USING (key);

-- Tuning runs, best first within a cell; they choose, they never enter a ranking.
CREATE OR REPLACE VIEW tuning AS
SELECT
    task, network, optimizer, lr, weight_decay, clip, network_fields, optimizer_fields, seed, status, best_validation,
    row_number() OVER (
        PARTITION BY task, network, optimizer, alias, budget, precision, schedule
        ORDER BY status = 'completed' DESC, if(higher_is_better, -best_validation, best_validation) NULLS LAST
    ) AS place, key
FROM trials WHERE stage = 'tune';

-- Trials that did not run to their budget, and why.
CREATE OR REPLACE VIEW failures AS
SELECT task, network, optimizer, stage, seed, status, message, steps, gradients, host, device, attempt, key
FROM trials WHERE status <> 'completed';

-- The newest result of every limit certificate.
CREATE OR REPLACE VIEW certificates AS
SELECT * FROM checks
QUALIFY row_number() OVER (PARTITION BY family, "check", quantity, seed ORDER BY started DESC NULLS LAST) = 1;

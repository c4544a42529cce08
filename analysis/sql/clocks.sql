-- Cost on every clock by task and method: medians over seeds until the target, infinite where most missed it, and what the whole budget takes.
WITH timed AS (
    SELECT
        f.*, t.target_step, t.target_epochs, t.target_gradients AS hit_gradients, coalesce(r.seconds, f.seconds) AS trial_seconds,
        if(r.key IS NULL, coalesce(t.target_seconds, 'inf'::DOUBLE), r.target_seconds) AS seconds_to_target,
        f.budget / nullif(f.gradients, 0) AS rest,  -- a trial that failed early stands for one of its speed that went on
        r.key IS NOT NULL OR f.timing = 'exclusive' AS is_alone, f.steps > 1 AS is_timed
    FROM final AS f JOIN trials AS t USING (key) LEFT JOIN retimed AS r USING (key)
    WHERE f.alias = ''
), chosen AS (  -- seconds of trials that had their device to themselves come first, as in leaderboard.sql
    SELECT *, is_timed AND (is_alone OR NOT bool_or(is_alone AND is_timed) OVER cell) AS has_seconds
    FROM timed WINDOW cell AS (PARTITION BY task, method)
)
SELECT
    task, method, max(target) IS NOT NULL AS has_target,
    median(coalesce(hit_gradients, 'inf'::DOUBLE)) AS gradients, max(budget) AS whole_gradients,
    median(coalesce(target_step, 'inf'::DOUBLE)) AS steps, median(steps * rest) AS whole_steps,
    median(coalesce(target_epochs, 'inf'::DOUBLE)) AS epochs, median(epochs * rest) AS whole_epochs,
    median(seconds_to_target) FILTER (has_seconds) AS seconds, median(trial_seconds * rest) FILTER (has_seconds) AS whole_seconds,
    coalesce(bool_or(NOT is_alone) FILTER (has_seconds), false) AS packed,
    coalesce(median(peak_mb) FILTER (status = 'completed'), median(peak_mb)) AS peak_mb
FROM chosen GROUP BY ALL
ORDER BY ALL;

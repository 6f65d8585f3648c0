-- How many data parts wait for projections that an upgrade added, how many rows they still have to
-- read, and how many rows there are. The engine builds the projections part by part.
WITH
    (
        SELECT groupUniqArrayArray(parts_to_do_names)
        FROM system.mutations
        WHERE database = '$database' AND table = '$local' AND NOT is_done
            AND position(command, 'PROJECTION') > 0
    ) AS waiting
SELECT
    countIf(has(waiting, name)),
    sumIf(rows * (1 - progress), has(waiting, name)),
    sum(rows)
FROM
(
    SELECT name, rows
    FROM system.parts
    WHERE database = '$database' AND table = '$local' AND active
) AS part
LEFT ANY JOIN
(
    SELECT source_part_names[1] AS name, progress
    FROM system.merges
    WHERE database = '$database' AND table = '$local' AND is_mutation
) AS running USING (name)

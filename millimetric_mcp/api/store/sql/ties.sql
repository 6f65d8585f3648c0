-- The users that each visitor was tied to. `ties` is empty if there is only one; else it has each
-- moment and user, oldest first.
SELECT
    visitor,
    min(user) AS first_user,
    if(
        first_user = max(user),
        [],
        arrayMap(tie -> (tie.1, cityHash64('user', tie.2)), arraySort(groupUniqArray((at, user_id))))
    ) AS ties
FROM
(
    SELECT
        visitor,
        user_id,
        cityHash64('user', user_id) AS user,
        toUnixTimestamp64Milli(timestamp) AS at
    FROM $events
    WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)$among
)
GROUP BY visitor

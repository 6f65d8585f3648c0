    -- The visitors that were tied to a user: one of their users, and whether there are several.
    tied_visitors AS MATERIALIZED
    (
        SELECT visitor, min(user) AS first_user, first_user != max(user) AS has_several
        FROM
        (
            SELECT visitor, cityHash64('user', user_id) AS user
            FROM $events
            WHERE project_id = {project_id:UInt64} AND person_role IN (2, 3)
        )
        GROUP BY visitor
    )

    -- Who took no later step: the times of nobody else are gathered and compared.
    SELECT min(earliest) AS counted, 1 AS level, [] AS times
    FROM firsts
    WHERE person GLOBAL NOT IN (SELECT person FROM later)
    GROUP BY person
    UNION ALL

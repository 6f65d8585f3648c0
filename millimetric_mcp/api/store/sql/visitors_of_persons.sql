-- The visitors and users whose events may be of the persons: a few more, never fewer.
SELECT person FROM $persons
UNION ALL
SELECT visitor
FROM tied_visitors
WHERE has_several OR first_user GLOBAL IN (SELECT person FROM $persons)

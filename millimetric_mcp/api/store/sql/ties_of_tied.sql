-- As `ties`, of all that were tied.
SELECT visitor, first_user, several.ties AS ties
FROM tied_visitors
LEFT ANY JOIN
(
$ties_of_several
) AS several USING (visitor)

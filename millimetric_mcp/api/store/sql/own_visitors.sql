-- The visitors that were tied to a user and to no other, as salted hashes. An event with both ids
-- ties them.
SELECT hex(SHA256(concat(unhex({salt:String}), anonymous_id)))
FROM $events
WHERE project_id = {project_id:UInt64}
    AND user_id != ''
    AND anonymous_id GLOBAL IN
    (
        SELECT anonymous_id
        FROM $events
        WHERE project_id = {project_id:UInt64}
            AND user_id != ''
            AND hex(SHA256(concat(unhex({salt:String}), user_id))) = {user_hash:String}
            AND received_at <= fromUnixTimestamp64Micro({cutoff_us:Int64}, 'UTC')
    )
GROUP BY anonymous_id
HAVING uniqExact(user_id) = 1

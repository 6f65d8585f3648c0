-- Erases a user's events that had arrived by the cutoff. The id itself is not in the
-- statement, which the engine keeps on disk until the mutation is done: a salted hash is.
ALTER TABLE $local $on_cluster
DELETE WHERE project_id = {project_id:UInt64}
    AND received_at <= fromUnixTimestamp64Micro({cutoff_us:Int64}, 'UTC')
    AND user_id != ''
    AND hex(SHA256(concat(unhex({salt:String}), user_id))) = {user_hash:String}
SETTINGS mutations_sync = 2

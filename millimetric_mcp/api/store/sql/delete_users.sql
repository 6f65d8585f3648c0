-- Deletes users' events that arrived before each user's cutoff. The engine keeps the statement on
-- disk, so it has salted hashes and no ids; delete_mutation_record.sql removes these too.
-- A user is a project and a hash. Users of all projects are deleted at once, since each wait for
-- files to be deleted takes seconds.
ALTER TABLE $database.$local $on_cluster
DELETE WHERE project_id IN {project_ids:Array(UInt64)}
    AND user_id != ''
    AND received_at <= fromUnixTimestamp64Micro(
        transform(
            concat(toString(project_id), ' ', hex(SHA256(concat(unhex({salt:String}), user_id)))),
            {users:Array(String)}, {cutoffs_us:Array(Int64)}, toInt64(-1)
        ),
        'UTC'
    )
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600

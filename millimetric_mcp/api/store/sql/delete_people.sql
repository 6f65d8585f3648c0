-- Deletes events of users or visitors that arrived before each one's cutoff. The engine keeps the
-- statement on disk, so it has salted hashes and no ids; delete_mutation_record.sql removes these
-- too. All projects' ids are deleted at once, since each wait for files to be deleted takes seconds.
ALTER TABLE $database.$local $on_cluster
DELETE WHERE $people
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600

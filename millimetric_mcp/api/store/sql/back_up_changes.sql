-- Copies every table to a new directory, without the files that an earlier backup has.
BACKUP DATABASE $database TO File({directory:String})
SETTINGS base_backup = File({base:String})

-- Copies every table to a new directory. The engine's rows do not change under the copy.
BACKUP DATABASE $database TO File({directory:String})

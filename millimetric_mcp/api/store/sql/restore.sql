-- Fills an empty store from a backup.
RESTORE DATABASE $database FROM File({directory:String})

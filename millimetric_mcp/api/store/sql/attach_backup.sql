-- Shows a backup as a database that can only be read.
CREATE DATABASE millimetric_backup ENGINE = Backup('$database', File({directory:String}))

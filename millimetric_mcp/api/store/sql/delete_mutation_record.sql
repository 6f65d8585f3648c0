-- Removes the engine's record of a deletion that is done: with its salt and hashes, a guessed id
-- could be checked. Only on one server: a replica that lags behind would never do the deletion.
KILL MUTATION
WHERE database = '$database' AND table = '$local' AND is_done
    AND position(command, {id_hash:String}) > 0

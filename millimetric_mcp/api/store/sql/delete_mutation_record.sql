-- Removes the engine's note of an erasure that is done: by its salt and hashes a guessed id could
-- be tried out. Only on one server: a replica that lags behind would never do the erasure.
KILL MUTATION
WHERE database = '$database' AND table = '$local' AND is_done
    AND position(command, {user_hash:String}) > 0

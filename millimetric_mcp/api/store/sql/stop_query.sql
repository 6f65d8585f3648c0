-- Stops a question that nobody waits for any more. Its mark is in its settings.
KILL QUERY $on_cluster WHERE Settings['log_comment'] = {mark:String} ASYNC

-- Stops a question whose caller has left. Its mark is in its settings.
KILL QUERY $on_cluster WHERE Settings['log_comment'] = {mark:String} ASYNC

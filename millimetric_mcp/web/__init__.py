"""What both HTTP servers share: error responses, the request log, CORS, server and signals."""

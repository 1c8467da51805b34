-- Taking a request once. Needs requests, seen_ttl_ms, max_backlog, backlog (the stream's length). Gives accept.

-- ... are fields and values of the request.
local function accept(seen, ...)
    if redis.call("GET", seen) then
        redis.call("PEXPIRE", seen, seen_ttl_ms)
        return "duplicate"
    elseif max_backlog > 0 and backlog >= max_backlog then
        return "overloaded"
    end
    redis.call("XADD", requests, "*", ...)
    redis.call("SET", seen, "1", "PX", seen_ttl_ms)
    backlog = backlog + 1
    return "accepted"
end

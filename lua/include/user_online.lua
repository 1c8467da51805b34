-- A user who was away has responded to a probe. What the user has missed may be in any shard: a request to the worker asks
-- for all of them (call_user_back). Needs requests. Gives report_online.

-- After commit.
local function report_online(user)
    redis.call("XADD", requests, "*", "type", "user_online", "from", user, "room", user, "data", "")
end

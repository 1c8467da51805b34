-- A user is told that it exceeded a limit: once per window, whatever number of edges refuse its requests.
--
-- KEYS:
--   notice    imc:{S}:limit_notice:LIMIT:USER  string
--   requests  imc:{S}:in               stream
--
-- ARGV:
--   window_ms    how long the user is not told again
--   max_backlog  maximum length of the stream, 0 for no limit
--   ...          fields and values of the request that makes the notice
--
-- Returns:
--   (number)    the user was told, now or before: ms until it may be told again
--   overloaded  the stream is full: nothing changed
local notice, requests = unpack(KEYS)
local window_ms, max_backlog = unpack(ARGV)
local fields = { unpack(ARGV, 3) }
window_ms, max_backlog = math.max(1, tonumber(window_ms)), tonumber(max_backlog)

local backlog = redis.call("XLEN", requests)
if redis.call("GET", notice) then
    return math.max(1, redis.call("PTTL", notice))
elseif max_backlog > 0 and backlog >= max_backlog then
    return "overloaded"
end
redis.call("XADD", requests, "*", unpack(fields))
redis.call("SET", notice, "1", "PX", window_ms)
return window_ms

-- A user is back: an edge is asked to hand it what it missed, in each of the shard's rooms where it is away.
--
-- KEYS:
--   requests     imc:{S}:in               stream
--   events       imc:{S}:out              stream
--   away_rooms   imc:{S}:away_rooms:FROM  set
--   probes       imc:{S}:probes           sorted set
--   probe_waits  imc:{S}:probe_waits      hash
--
-- ARGV:
--   entry_id     the request's id in requests
--   room_prefix  imc_rooms:{S}:
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests, events, away_rooms, probes, probe_waits = unpack(KEYS)
local entry_id, room_prefix = unpack(ARGV)
local delivery_chunk = 1
assert(room_prefix, "room_prefix")
--- @include "request"
--- @include "emit"
--- @include "call_all_back"

local user = request.from
commit()
call_all_back(user)
return "done"

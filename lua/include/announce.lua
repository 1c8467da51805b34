-- Tells of a join or a leave. Where a room is quiet (set_announce), or all rooms by the setting announce_joins, only
-- those concerned are told. Needs announce_joins and what emit and room need. Gives announce.
--- @include "tell"
--- @include "room"
assert(announce_joins == "0" or announce_joins == "1", "announce_joins")

-- After commit. ... are further fields of the event. Returns the id of the first notice, nil if nobody is told.
local function announce(event, concerned, ...)
    local is_loud = (redis.call("HGET", room, "announce") or announce_joins) == "1"
    return tell(event, concerned, is_loud and here(RANK) or {}, ...)
end

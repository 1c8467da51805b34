-- Whether a user was sent an INVITE lately: one of its devices may have accepted, and another one not yet. That one must not be
-- sent another INVITE: it would leave. One that has come `since` then, in ms of the clock, was not among them: 0 if it may have
-- been there before. Gives is_asked_lately.
--- @include "now"
local INVITE_MS = 64 * 1000 -- RFC 3261 §17.1.1.2, at two targets
local LATE_MS = 2000 -- from the event to the INVITE

local function is_asked_lately(room, user, since)
    local id = redis.pcall("HGET", room, "invitation:" .. user)
    local asked = type(id) == "string" and tonumber(id:match("^%d+"))
    return asked and now - asked < INVITE_MS and (since == 0 or asked > since - LATE_MS)
end

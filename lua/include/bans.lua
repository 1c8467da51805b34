-- Who may not come into the room: a field ban:USER of the room's hash for each. A ban holds at every port of the
-- address, and until it is lifted. Needs room. Gives is_banned, bans.
--- @include "without_port"

local function is_banned(address)
    return redis.call("HEXISTS", room, "ban:" .. without_port(address)) == 1
end

-- All banned addresses.
local function bans()
    local found = {}
    for _, field in ipairs(redis.call("HKEYS", room)) do
        found[#found + 1] = field:match("^ban:(.+)$")
    end
    return found
end

-- The room and the sender's role in it. Needs rooms, room, members, request. Gives private, sender_role, RANK,
-- IN_CHARGE, with_role, here, and what role gives.
--- @include "role"
local private = redis.call("HGET", room, "private") -- "0", "1", or false: no such room
local sender_role = role_of(redis.call("HGET", members, request.from)) -- false: none
redis.call("ZCARD", rooms) -- is a sorted set

-- The roles of members, highest first, as imc_common/rooms/roles.py lists them; a test compares the two.
local RANK = { owner = 1, admin = 2, member = 3 }
local IN_CHARGE = { owner = true, admin = true }

-- The addresses whose role is a key of `roles`, also those of members who are away.
local function with_role(roles)
    local found, n, all = {}, 0, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if roles[role_of(all[i + 1])] then
            n = n + 1
            found[n] = all[i]
        end
    end
    return found
end

-- The same without the members who are away, or whose devices show the roster: who is told of an event.
local function here(roles)
    local found, n, all = {}, 0, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        local client = HERE[all[i + 1]]
        if client and client ~= "devices" and roles[role_of(all[i + 1])] then
            n = n + 1
            found[n] = all[i]
        end
    end
    return found
end

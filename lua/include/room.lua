-- The room and the sender's place in it. Needs rooms, room, members, request.
local private = redis.call("HGET", room, "private") -- "0", "1", or false: no such room
local sender_role = redis.call("HGET", members, request.from) -- false: none
redis.call("ZCARD", rooms) -- is a sorted set

local MEMBERS = { owner = true, admin = true, member = true }
local IN_CHARGE = { owner = true, admin = true }

-- The addresses that have one of these roles.
local function with_role(roles)
    local found, n, all = {}, 0, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if roles[all[i + 1]] then
            n = n + 1
            found[n] = all[i]
        end
    end
    return found
end

-- The room and the sender's place in it. Needs rooms, room, members, request, commit, emit.
local private = redis.call("HGET", room, "private") -- "0", "1", or false: no such room
local sender_role = redis.call("HGET", members, request.from) -- false: none
redis.call("ZCARD", rooms) -- is a sorted set

local MEMBERS = { owner = true, admin = true, member = true }
local IN_CHARGE = { owner = true, admin = true }

-- The addresses that have one of these roles, without the address `but`.
local function with_role(roles, but)
    local found, n, all = {}, 0, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        if roles[all[i + 1]] and all[i] ~= but then
            n = n + 1
            found[n] = all[i]
        end
    end
    return found
end

-- Why the sender may not do what takes the role `least`; nil if it may. A private room answers a stranger like
-- one that is not there.
local function refusal(least)
    if not private or (private == "1" and not sender_role) then
        return "unknown_room"
    elseif not MEMBERS[sender_role] then
        return "not_member"
    elseif least == "admin" and sender_role == "member" then
        return "admins_only"
    elseif least == "owner" and sender_role ~= "owner" then
        return "owner_only"
    end
end

local function refuse(reason)
    local about = { "reason", reason, "command", request.type }
    for _, field in ipairs({ "user", "role" }) do
        if request[field] then
            about[#about + 1] = field
            about[#about + 1] = request[field]
        end
    end
    commit()
    emit("refused", { request.from }, unpack(about))
    return "done"
end

-- Refusals. Needs request, private, sender_role, MEMBERS, commit, emit.

-- An operator (MI) needs no role, and is told of a refusal by MI. Edges never write this field.
local operator = request.operator == "1"

-- Why the sender may not do what takes the role `least`; nil if it may. A private room answers a stranger like
-- one that is not there.
local function refusal(least)
    if operator then
        return not private and "unknown_room" or nil
    elseif not private or (private == "1" and not sender_role) then
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
    if not operator then
        emit("refused", { request.from }, unpack(about))
    end
    return "done"
end

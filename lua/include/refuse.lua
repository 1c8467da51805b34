-- Refusals. Needs what emit and room need, and commit. Gives operator, refusal, refuse, and what emit, tell and room
-- give.
--- @include "emit"
--- @include "tell"
--- @include "room"

-- An operator (MI) needs no role, and MI reports a refusal to it. Edges never write this field.
local operator = request.operator == "1"

-- Why the sender may not do what takes at least this role; nil if it may. To a stranger, a private room looks like
-- one that does not exist.
local function refusal(least)
    if operator then
        return not private and "unknown_room" or nil
    elseif not private or (private == "1" and not sender_role) then
        return "unknown_room"
    elseif not is_member(sender_role) then
        return "not_member"
    elseif RANK[sender_role] > RANK[least] then
        return least == "owner" and "owner_only" or "admins_only"
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
    if request.text then
        about[#about + 1] = "detail"
        about[#about + 1] = request.text
    end
    commit()
    if not operator then
        emit("refused", { request.from }, unpack(about))
    end
    return "done"
end

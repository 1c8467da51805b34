-- The sender joins a room that exists and is open to it. Needs private_rooms, max_members,
-- announce_joins and what refuse needs.
-- Gives join_existing.
--- @include "capacity"
--- @include "admit"
--- @include "bans"
local function join_existing()
    if is_member(sender_role) then
        commit()
        emit("already_member", { request.from }, "command", request.type)
        return "done"
    elseif is_banned(request.from) then
        return refuse("you_are_banned")
    end
    local lack = not sender_role and lack_of_place(request.from)
    if lack then
        return refuse(lack)
    end
    commit()
    admit(request.from, "joined")
    return "done"
end

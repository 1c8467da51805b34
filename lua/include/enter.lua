-- The sender comes into a room that exists and is open to it. Needs sender_role, full, refuse, commit, emit, admit.
local function enter()
    if MEMBERS[sender_role] then
        commit()
        emit("already_member", { request.from }, "command", request.type)
        return "done"
    elseif not sender_role and full then
        return refuse("room_full")
    end
    commit()
    admit(request.from, "joined")
    return "done"
end

-- What an owner or admin may do to others in the room. Gives against_removal, against_role: the reason why not, or false.

-- An owner cannot be removed, an admin only by an owner.
local function against_removal(sender_role, user_role)
    return (user_role == "owner" and "is_owner") or (user_role == "admin" and sender_role ~= "owner" and "owner_only")
end

-- An admin makes members admins, and may become a plain member.
local function against_role(sender_role, user_role, role, is_own)
    local steps_down = is_own and role == "member"
    local above_admin = role == "owner" or user_role == "owner" or (user_role == "admin" and not steps_down)
    return sender_role == "admin" and above_admin and "owner_only"
end

-- A device shows the room no longer: it has got the BYE of an earlier stay, or has ended a session that the room does not
-- know. If its user is a member through another device, it is invited. Needs room, members, devices, and what role and
-- invite give. Gives needs_invite, and what place_for gives.
--- @include "device"
--- @include "device_name"
--- @include "unacknowledged"
--- @include "place_for"

-- Whether this device, without ";aor", is to be invited. No INVITE is under way that may reach it: neither one to it, nor one to
-- its user. If one to its user has been accepted, and may have been forked, the edge waits for that (invitation_order.py).
local function needs_invite(device)
    local user = user_of(device)
    local value = redis.call("HGET", members, user)
    if not is_member(value) or is_inviting(value) or device_in(devices, device) or has_given_up(room, device)
        or is_under_way(room, device, "") or is_under_way(room, user, value) then
        return false
    end
    local has_place, replaced = place_for(device)
    return has_place and not replaced
end

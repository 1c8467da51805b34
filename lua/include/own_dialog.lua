-- The device of the sender that a request in a dialog comes from: the one that it names, or the one that has this dialog. Needs
-- room, request, and what dialog gives. Gives own_device, is_outdated.
--- @include "device"
--- @include "device_name"

local function own_device()
    local devices = devices_of(request.room)
    local ids = dialog_ids(request.dialog or "") or {}
    local named = device_in(devices, request.device)
    for _, device in ipairs(redis.call("HKEYS", devices)) do
        local known = user_of(device) == request.from and dialog_ids(redis.call("HGET", room, "dialog:" .. device) or "")
        if known and same_dialog(known, ids) then
            return device
        end
    end
    return named
end

-- Whether the room has ended the dialog of this request: it is of an earlier stay of the user. A device whose dialog is not
-- known may have this one, and so may one that is not in the room yet.
local function is_outdated()
    local devices, ids, is_other = devices_of(request.room), dialog_ids(request.dialog or ""), false
    local named = device_in(devices, request.device)
    if not ids or (request.device and not named) then
        return false
    end
    for _, device in ipairs(redis.call("HKEYS", devices)) do
        if user_of(device) == request.from then
            local known = dialog_ids(redis.call("HGET", room, "dialog:" .. device) or "")
            if same_dialog(known, ids) or (not known and (not named or named == device)) then
                return false
            end
            is_other = true
        end
    end
    return is_other
end

-- The device of the sender that a request in a dialog comes from: the one that it names, or the one that has this dialog. Needs
-- room, request, and what dialog gives. Gives own_device.
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

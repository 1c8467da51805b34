-- The devices in a room: those of its members whose client shows it as a conference. Needs events. Gives devices_of,
-- device_in.

-- The key of the devices in the room with this address. It is made here, because passing it would cost every message.
local function devices_of(address)
    return "imc_devices:" .. events:match("{%d+}") .. ":" .. address
end

-- What a room calls the device of a request, which never has ";aor"; nil if the device is not in the room. May be called
-- after commit: a key of a wrong type has no devices.
local function device_in(devices, device)
    for _, name in ipairs(device and { device, device .. ";aor" } or {}) do
        if redis.pcall("HEXISTS", devices, name) == 1 then
            return name
        end
    end
end

-- Addresses of devices, as imc_common/devices.py makes them: USER;gr=X, with ";aor" behind it if the device was invited
-- by the user's address. Needs events. Gives user_of, is_device, without_aor, devices_of, device_in.

-- The user of a device; of a user's address, the same. The user part may have semicolons too.
local function user_of(address)
    return address:match("^[^@]*@[^;]*") or address
end

local function is_device(address)
    return user_of(address) ~= address
end

local function without_aor(device)
    return (device:gsub(";aor$", ""))
end

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

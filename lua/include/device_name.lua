-- Addresses of devices, as imc_common/devices.py makes them: USER;gr=X, with ";aor" behind it if the device was invited
-- by the user's address. Gives user_of, is_device, without_aor.

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

# Ohai plugin: a folder of Ohai's plugin_path, such as /etc/chef/ohai/plugins/rackconnect.rb. Seen as node["rackconnect"],
# for example node["rackconnect"]["status"]["value"]. Asks the API; add --no-api to ask nothing of the network.
require "json"

Ohai.plugin(:RackConnectAgent) do
  provides "rackconnect"

  collect_data(:linux) do
    # Always there: without an object from the program, with the reason.
    rackconnect Mash.new
    begin
      facts = shell_out("rackconnect -q facts", timeout: 10)
      JSON.parse(facts.stdout).each { |name, fact| rackconnect[name] = fact }
    rescue Ohai::Exceptions::Exec, JSON::ParserError => e
      rackconnect["reason"] = "rackconnect facts printed no object"
      logger.debug("rackconnect facts: #{e.message}")
    end
  end
end
